from automm_serve.triton.model import TritonPythonModel  # noqa: F401
