# Reads an EnvironmentFile= with the reader in systemd's own library: a file in, an
# object of its variables out.
import ctypes
import glob
import json
import sys
import tempfile

found = sorted(glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so") + glob.glob("/usr/lib*/systemd/libsystemd-shared-*.so"))
try:
    load = ctypes.CDLL(found[-1]).load_env_file
except (IndexError, OSError, AttributeError):
    sys.exit("systemd's library is not installed")
with tempfile.NamedTemporaryFile() as file:
    file.write(sys.stdin.buffer.read())
    file.flush()
    read = ctypes.POINTER(ctypes.c_char_p)()
    if load(None, file.name.encode(), ctypes.byref(read)) < 0:
        sys.exit("systemd refuses the file")
values, i = {}, 0
while read and read[i] is not None:
    name, _, value = read[i].decode().partition("=")
    values[name] = value
    i += 1
print(json.dumps(values))
