"""How a deployment is carried out: admitted, composed, followed, and written down."""
