"""Packages that the extras of vqjax install, and what to do where one is missing."""

_EXTRAS = {  # module -> the extra that installs it
    **dict.fromkeys(("matplotlib", "sklearn", "tensorboardX"), "train"),
    **dict.fromkeys(("tensorflow_datasets", "array_record"), "data"),
    **dict.fromkeys(("safetensors", "flatbuffers", "pyarrow"), "export"),
}


def install_hint(error: BaseException | None) -> str | None:
    """Return a line that says how to install the package whose import failed; None if no extra of vqjax has it.

    Args:
      error: of the import, or one that it caused.
    """
    while error is not None:
        module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if module in _EXTRAS:
            return f"{module} is not installed: pip install 'vqjax[{_EXTRAS[module]}]'"
        error = error.__cause__ or error.__context__
    return None
