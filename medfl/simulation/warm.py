"""What the server of forked workers imports once, so that a worker starts with torch and MONAI already there."""

import medfl.client_app  # noqa: F401
