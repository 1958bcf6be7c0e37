"""What quantization does to a trained model, tensor by tensor."""
