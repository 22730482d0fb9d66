"""The model as published: each spot's own window, three encoders and decoders.

Facts follow `aestetik` 0.3.1 (Nonchev et al. 2024, https://doi.org/10.1101/2024.06.04.24308256). Deliberately
different: partners of triplets are drawn within the batch and encoded once, an embedding is one pass without dropout
on running batch statistics, and scaling stays as fitted.
"""
