"""The machine: files, paths, signals, locks, memory, the compilation cache, the terminal. No numerics."""
