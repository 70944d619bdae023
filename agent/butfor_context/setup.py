"""The extension: its thread-local record must be reached through TLS descriptors, which x86-64 has to be asked for."""

import platform

from setuptools import Extension, setup

dialect = ["-mtls-dialect=gnu2"] if platform.machine() == "x86_64" else []
setup(
    ext_modules=[
        Extension(
            "butfor_context.writer", ["butfor_context/writer.c"], extra_compile_args=["-O2", "-std=gnu11", *dialect]
        )
    ]
)
