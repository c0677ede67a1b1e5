"""Layouts: from a target layer's tensor to maps (n, c, *spatial), derived from the tensor's shape or chosen by the user."""

from camtool.layouts._base import Layout as Layout
from camtool.layouts._base import Reading as Reading
from camtool.layouts.build import LayoutSpec as LayoutSpec
from camtool.layouts.build import build_layout as build_layout
from camtool.layouts.build import fit_layout as fit_layout
from camtool.layouts.channels import AxisOrder as AxisOrder
from camtool.layouts.channels import ChannelsFirst as ChannelsFirst
from camtool.layouts.channels import ChannelsLast as ChannelsLast
from camtool.layouts.rearranged import Rearranged as Rearranged
from camtool.layouts.token_rows import TokenRows as TokenRows
from camtool.layouts.tokens import Tokens as Tokens
