"""Several deployments of one model: which one is asked, and what happens when it fails."""

from .deployment import Deployment
from .group import Group
from .routed import RoutedEngine
from .watch import Timeouts

__all__ = ["Deployment", "Group", "RoutedEngine", "Timeouts"]
