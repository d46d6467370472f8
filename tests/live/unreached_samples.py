"""Options of the drivers that need what no test has, and QEMU's complaint.

It shows that QEMU has read the options, and goes on to what they name.
"""

from __future__ import annotations

from qemu_blocksdk.blockdev import (
    BlockdevOptions,
    Ftp,
    Ftps,
    HostCdrom,
    Https,
    Iscsi,
    Nfs,
    NFSServer,
    Nvme,
    Rbd,
    Ssh,
    SshHostKeyCheckHash,
    from_json,
)
from qemu_blocksdk.wire import (
    BlockdevCacheOptions,
    InetSocketAddress,
    InetSocketAddressBase,
    IoUring,
    NvmeIoUring,
    VirtioBlkVfioPci,
    VirtioBlkVhostUser,
    VirtioBlkVhostVdpa,
)

_NOBODY = "127.0.0.1:1"

UNREACHED: dict[str, tuple[BlockdevOptions, str]] = {
    "https": (
        Https(
            node_name="top",
            url=f"https://{_NOBODY}/x",
            sslverify=False,
            username="u",
            cookie="a=b,c",
            read_only=True,
        ),
        "Failed to connect",
    ),
    "ftp": (
        Ftp(node_name="top", url=f"ftp://{_NOBODY}/x", timeout=3, read_only=True),
        "Failed to connect",
    ),
    "ftps": (
        Ftps(node_name="top", url=f"ftps://{_NOBODY}/x", sslverify=True, read_only=True),
        "Failed to connect",
    ),
    "ssh": (
        Ssh(
            node_name="top",
            server=InetSocketAddress(host="127.0.0.1", port="1"),
            path="/x",
            host_key_check=SshHostKeyCheckHash(type="sha256", hash="00"),
        ),
        "Failed to connect to '127.0.0.1:1'",
    ),
    "nfs": (
        Nfs(
            node_name="top",
            server=NFSServer(type="inet", host="127.0.0.1"),
            path="/x",
            user=1,
            tcp_syn_count=2,
        ),
        "Failed to mount nfs share",
    ),
    "iscsi": (
        Iscsi(
            node_name="top",
            transport="tcp",
            portal=_NOBODY,
            target="iqn.x",
            lun=1,
            header_digest="none",
            timeout=1,
        ),
        "iSCSI: Failed to connect",
    ),
    "rbd": (
        Rbd(
            node_name="top",
            pool="p",
            image="i",
            conf="nowhere",
            auth_client_required=["none"],
            server=[InetSocketAddressBase(host="127.0.0.1", port="1")],
        ),
        "error reading conf file nowhere",
    ),
    "gluster": (  # read, as constructing it warns
        from_json(
            {
                "driver": "gluster",
                "node-name": "top",
                "volume": "v",
                "path": "p",
                "server": [
                    {"type": "inet", "host": "127.0.0.1", "port": "1"},
                    {"type": "unix", "path": "nowhere"},
                ],
                "debug": 0,
            }
        ),
        "Gluster connection for volume v",
    ),
    "nvme": (
        Nvme(node_name="top", device="ffff:ff:1f.7", namespace=1),
        "vfio|Failed to find iommu group",
    ),
    "io_uring": (IoUring(node_name="top", filename="nowhere/disk"), "blkio_connect failed"),
    **{
        str(kind.driver): (
            kind(node_name="top", path="nowhere", cache=BlockdevCacheOptions(direct=True)),
            "blkio_\\w+ failed",
        )
        for kind in (NvmeIoUring, VirtioBlkVfioPci, VirtioBlkVhostUser, VirtioBlkVhostVdpa)
    },
    "host_cdrom": (
        HostCdrom(node_name="top", filename=__file__, locking="off", read_only=True),
        "to be either a character or block device",
    ),
}
