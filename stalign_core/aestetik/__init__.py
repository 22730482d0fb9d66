"""The AESTETIK convolutional autoencoder: needs torch, numpy and lightning only."""
