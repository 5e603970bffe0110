"""The compiled core: step features, network step and sampling. Arrays in, arrays out."""
