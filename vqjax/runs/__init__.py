"""Runs: what a run carries, saves, reports, and the devices that it is trained on. Nothing here knows a model.

state.py         the training state
workdir.py       the directory of a run: config.json, run.json
checkpoints/     what is saved, read back, kept and restored
devices/         functions compiled for all devices, and several processes
finite.py        checks for NaN and Inf
metrics.py       means, and figures derived from them
accumulator.py   the metrics between two logged lines
plots/           pictures
reports/         metrics.jsonl, report.md, comparisons, tables
trackers/        TensorBoard, Weights & Biases, MLflow
side_jobs.py     pictures, reports and trackers may fail without ending the run
shared.py        a run's directory as all of its processes see it
"""
