"""Flags of tritonserver that both engines use."""

RESPONSE_CACHE_BYTES = 64 << 20
RESPONSE_CACHE_FLAG = f"--cache-config=local,size={RESPONSE_CACHE_BYTES}"
