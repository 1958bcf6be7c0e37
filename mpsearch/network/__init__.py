"""From a float Keras model to the elastic network: folding, sites, quantizers between the layers."""
