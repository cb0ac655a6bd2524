"""The prior over the levels of codes that another prior is given, which `config.top_prior` names."""

from vqjax.config.schema import Settings
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1


def check_top_prior(settings: Settings, stage1: Stage1) -> None:
    """Raise InputError unless `top_prior` is a prior on the same stage 1, of the levels before that of the run.

    One that is told the class needs a lower level that is: both are asked with the same classes.

    Args:
      settings: of the run of the lower level.
      stage1: of that run.
    """
    where = f"config.top_prior={settings.top_prior}"
    try:
        workdir = Workdir(settings.top_prior, "config.top_prior")
        config, facts = workdir.raw_config(), workdir.facts()
    except InputError as error:
        raise InputError(f"{where}: expected the workdir of a trained prior. {error}") from error
    if config.get("task") != "prior":
        raise InputError(f"{where} holds a run of task {config.get('task')!r}, expected 'prior'")
    if facts.get("stage1") != stage1.fingerprint:
        raise InputError(f"{where} was trained on another stage 1 than {stage1.path}, or on another checkpoint of it")
    names = [level.name for level in stage1.layout.levels]
    own, level = settings.model.values["level"], config["model"]["level"]
    above = names[names.index(own) - 1] if own in names[1:] else ""
    if len(names) == 1:
        raise InputError(f"{where}: expected none, {stage1.path} has one level of codes")
    if not above:
        after = ", ".join(names[1:])
        raise InputError(
            f"{where}: expected none, since no level comes before config.model.level={own!r}; one comes before {after}"
        )
    if level != above:
        raise InputError(f"{where} is a prior up to level {level or names[-1]!r}, expected up to {above!r}")
    told = config["model"]["class_conditional"] and stage1.facts["class_names"]
    if told and not settings.model.values["class_conditional"]:
        raise InputError(f"{where} is told the class: expected config.model.class_conditional=True here, too")
