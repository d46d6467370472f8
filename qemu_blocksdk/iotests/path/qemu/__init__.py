"""The ``qemu`` of scripts, before any other of that name."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
