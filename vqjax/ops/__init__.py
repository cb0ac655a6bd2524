"""Operations with one contract and, where it pays, a faster way on a CPU. Only here is a platform named."""
