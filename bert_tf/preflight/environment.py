"""What the TPU compiler wants to find in its process' environment on a machine without a TPU. Standard library only."""

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server to ask
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compilers may run side by side; the lock is for a TPU's sake
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
