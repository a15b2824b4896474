"""Language models that a run starts on its cluster: vLLM servers, or vLLM in process."""
