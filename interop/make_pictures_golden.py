"""Writes tests/golden/pictures: small pictures, and a table, of forms that this program does not write. Needs numpy, Pillow
and pyarrow.

python3 interop/make_pictures_golden.py
"""
import pathlib

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

OUT = pathlib.Path(__file__).parent.parent / "tests/golden/pictures"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:33, 0:40]
    noise = np.random.default_rng(3).integers(-30, 31, (33, 40, 3))
    colour = Image.fromarray((np.stack([x * 6, y * 7, (x * y) % 256], -1) + noise).clip(0, 255).astype(np.uint8))
    grey = colour.convert("L")
    rgba = colour.convert("RGBA")
    rgba.putalpha(grey)
    colour.save(OUT / "progressive.jpg", quality=60, progressive=True)
    grey.save(OUT / "grey-progressive.jpg", quality=60, progressive=True)
    colour.save(OUT / "restarts.jpg", quality=60, subsampling=2, restart_marker_blocks=2)
    colour.save(OUT / "subsampled.jpg", quality=60, subsampling=1, optimize=True)
    colour.save(OUT / "lossy.webp", quality=50)
    rgba.save(OUT / "alpha.webp", quality=50)
    colour.convert("P", palette=Image.ADAPTIVE, colors=64).save(OUT / "interlaced.gif", interlace=1)
    table = pyarrow.table({"image": [(OUT / "subsampled.jpg").read_bytes()]})
    pyarrow.parquet.write_table(table, OUT / "brotli.parquet", compression="brotli", write_statistics=False)


if __name__ == "__main__":
    main()
