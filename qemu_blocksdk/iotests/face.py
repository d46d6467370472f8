"""All that a script finds in ``iotests``."""

from .environ import (
    aiomode,
    cachemode,
    imgfmt,
    imgproto,
    luks_default_key_secret_opt,
    luks_default_secret_object,
    output_dir,
    qemu_default_machine,
    qemu_img_args,
    qemu_io_args,
    qemu_io_args_no_fmt,
    qemu_nbd_args,
    qemu_nbd_prog,
    qemu_opts,
    qemu_prog,
    sample_img_dir,
    sock_dir,
    socket_scm_helper,
    test_dir,
)
from .files import FilePath, Timeout, file_path, file_pattern, remote_filename, try_remove
from .filtering import *
from .images import *
from .logs import Msg, activate_logging, log, logger, test_logger
from .programs import qemu_tool_pipe_and_status
from .servers import qemu_nbd, qemu_nbd_early_pipe, qemu_nbd_list_log, qemu_nbd_popen
from .vm import VM, get_virtio_scsi_device
