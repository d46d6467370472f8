"""Creation and amend options that are wrong: each marked line is red, and no other is."""

from qemu_blocksdk.tools.amendment import AmendLuks, AmendQcow2
from qemu_blocksdk.tools.creation import CreateQcow, CreateQcow2, CreateRaw, EncryptLuks, creation_words, options_of

CreateQcow2(lazy_refcount=True)  # error: Unexpected keyword argument "lazy_refcount" for "CreateQcow2"; did you mean "lazy_refcounts"?
CreateQcow2(size="1G")  # error: Unexpected keyword argument "size" for "CreateQcow2"
CreateQcow2(backing_file="base")  # error: Unexpected keyword argument "backing_file" for "CreateQcow2"
CreateQcow2(compat="v4")  # error: Argument "compat" to "CreateQcow2" has incompatible type "Literal['v4']"
CreateQcow2(refcount_bits=3)  # error: Argument "refcount_bits" to "CreateQcow2" has incompatible type "Literal[3]"
CreateQcow2(cluster_size=1.5)  # error: Argument "cluster_size" to "CreateQcow2" has incompatible type "float"; expected "int | str | None"
CreateQcow2(encrypt="luks")  # error: Argument "encrypt" to "CreateQcow2" has incompatible type "str"; expected "EncryptLuks | EncryptAes | None"
CreateQcow2(encrypt=EncryptLuks(key_secret="abc"))  # error: Unexpected keyword argument "key_secret" for "EncryptLuks"
CreateQcow(encrypt=EncryptLuks())  # error: Argument "encrypt" to "CreateQcow" has incompatible type "EncryptLuks"; expected "EncryptAes | None"
CreateRaw(preallocation="metadata")  # error: Argument "preallocation" to "CreateRaw" has incompatible type "Literal['metadata']"
CreateRaw("full")  # error: Too many positional arguments for "CreateRaw"
CreateRaw().nocow = True  # error: Property "nocow" defined in "CreateRaw" is read-only
options_of("qcow3")  # error: Argument 1 to "options_of" has incompatible type "Literal['qcow3']"
creation_words(CreateQcow2)  # error: Argument 1 to "creation_words" has incompatible type "type[CreateQcow2]"
AmendLuks()  # error: Missing named argument "state" for "AmendLuks"
AmendLuks(state="active", new_secret="abc")  # error: Argument "new_secret" to "AmendLuks" has incompatible type "str"; expected "Secret | None"
AmendQcow2(encrypt=EncryptLuks())  # error: Argument "encrypt" to "AmendQcow2" has incompatible type "EncryptLuks"; expected "AmendLuks | None"
