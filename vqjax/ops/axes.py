"""Names of the axes that compiled functions share."""

BATCH = "batch"  # the devices: they divide a batch, average gradients and share the statistics of batch norm
