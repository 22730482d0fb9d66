"""From counts to principal components, one section at a time: gene statistics, gene panel, streamed PCA."""
