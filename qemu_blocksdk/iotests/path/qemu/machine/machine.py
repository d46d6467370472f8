"""The same names, where the newer revision has them."""

from . import AbnormalShutdown as AbnormalShutdown
from . import QEMUMachine as QEMUMachine
from . import QEMUMachineAddDeviceError as QEMUMachineAddDeviceError
from . import QEMUMachineError as QEMUMachineError
