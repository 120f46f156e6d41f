"""`python -m diglot.service.command`, for where no script was installed."""

import sys

from .main import main

sys.exit(main())
