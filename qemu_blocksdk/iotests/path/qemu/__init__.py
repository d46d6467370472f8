"""The ``qemu`` of scripts, before any other of that name; ``qemu.qmp`` is elsewhere."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
