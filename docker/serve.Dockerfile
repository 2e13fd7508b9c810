# A bundle on NVIDIA's Triton. Not run where it was written: docs/containers.md says what was checked.
#
#   make wheels                                            # once, where there is a network
#   docker build -f docker/serve.Dockerfile -t automm-serve .
#   docker run --shm-size=1g -v "$PWD/bundle:/bundle:ro" -p 127.0.0.1:8000:8000 automm-serve
#
# NVIDIA's image of this release, under the name that your registry has it by. The release must have
# no open bulletin in serve/automm_serve/data/targets.json; a test compares.
ARG TRITON_IMAGE=tritonserver:26.07-py3
FROM ${TRITON_IMAGE}

# The wheels stay outside the image, and nothing is fetched: pip has no index, the step no network.
RUN --network=none \
    --mount=type=bind,source=docker/wheels/serve,target=/wheels \
    --mount=type=bind,source=docker/serve.requirements.txt,target=/serve.requirements.txt \
    python3 -m pip install --no-cache-dir --no-index --find-links=/wheels --no-deps \
        --break-system-packages --requirement /serve.requirements.txt automm-edge \
    && python3 -c "import numpy; assert numpy.__version__ < '2', numpy.__version__"

# The user that NVIDIA's image has for this; by number, so that a cluster can see it is not root.
USER 1000:1000
ENV HOME=/tmp \
    AUTOMM_CACHE=/tmp/automm \
    PYTHONDONTWRITEBYTECODE=1

EXPOSE 8000 8001 8002
VOLUME ["/bundle"]

# The golden row, through all stages: a server whose Python died stays READY.
HEALTHCHECK --interval=15s --timeout=10s --start-period=300s --retries=3 \
    CMD ["python3", "-m", "automm_serve.triton.health", "/bundle"]

STOPSIGNAL SIGTERM
# The launcher looks the bundle through, runs its own copy of model.py, and mends a dead model.
ENTRYPOINT ["python3", "-m", "automm.cli.main", "serve", "/bundle", "--host", "0.0.0.0"]
CMD ["--target", "cpu_ort"]
