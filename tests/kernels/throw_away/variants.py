from braidcheck.kernels.throw_away import throw_away as wrapper

from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.numerics.rounding import wide


def added(x):
    return (wide(x) + wide(x) + 1).to(x.dtype)


OTHER_SIZES = {"BLOCK_M": 2}
VARIANTS = {"other blocks": other_blocks(wrapper, **OTHER_SIZES), "added": added}
