"""scripts/route.py: routers fitted, tried on stored answers, scored and asked."""
