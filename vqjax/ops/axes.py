"""Names of axes that compiled functions share."""

BATCH = "batch"  # the devices, over which batches are divided, gradients averaged and batch norm takes its statistics
