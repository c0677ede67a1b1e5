"""medcam3d.utils: its targets and pictures."""
