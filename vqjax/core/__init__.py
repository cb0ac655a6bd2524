"""What everything else stands on: configs, flags, files, schedules."""
