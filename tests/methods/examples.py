"""One example a method, 2x2 positions and two channels, worked by hand."""

from dataclasses import dataclass, field
from typing import Any

Grid = list[list[float]]


@dataclass
class Example:
    expected: Grid
    activations: list[Grid] = field(default_factory=lambda: [[[1.0, 2.0], [-3.0, 4.0]], [[2.0, 1.0], [0.0, 2.0]]])
    gradients: list[Grid] = field(default_factory=lambda: [[[2.0, 0.0], [-1.0, 3.0]], [[-2.0, 1.0], [0.0, -1.0]]])
    class_weights: list[float] = field(default_factory=lambda: [2.0, -1.0])
    arguments: dict[str, Any] = field(default_factory=dict)
    curvature: list[Grid] = field(default_factory=lambda: [[[1.0, 0.0], [0.0, -1.0]], [[0.0, 2.0], [0.0, 0.0]]])
    picture: list[Grid] = field(default_factory=lambda: [[[1.0, 0.0], [0.0, 2.0]]])


# The shared example:  A1 = 1 2   g1 = 2 0   A2 = 2 1   g2 = -2  1   w = 2, -1
#                          -3 4       -1 3        0 2         0 -1
# The eigen methods have the collinear channels p = (1, 2, 3, 6) and 2 p: about the mean of 3, p is (-2, -1, 0, 3), and the component
# points along (1, 2) / sqrt 5, so the projection is sqrt 5 * (-2, -1, 0, 3) up to its sign.
COLLINEAR: list[Grid] = [[[1.0, 2.0], [3.0, 6.0]], [[2.0, 4.0], [6.0, 12.0]]]
NEGATED: list[Grid] = [[[-1.0, -2.0], [-3.0, -6.0]], [[-2.0, -4.0], [-6.0, -12.0]]]
OPPOSED: list[Grid] = [[[1.0, 1.0], [1.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]]
ROOT2 = 1.4142135623730951
ROOT5 = 2.23606797749979

EXAMPLES: dict[str, Example] = {
    # 2 A1 - A2
    "cam": Example([[0.0, 3.0], [-6.0, 6.0]]),
    # mean g1 = 4/4 = 1, mean g2 = -2/4 = -0.5: A1 - 0.5 A2
    "gradcam": Example([[0.0, 1.5], [-3.0, 3.0]]),
    # the same: what is theirs is how layers are fused
    "refinecam": Example([[0.0, 1.5], [-3.0, 3.0]]),
    "winsorcam": Example([[0.0, 1.5], [-3.0, 3.0]]),
    # sum A1 = 4, sum A2 = 5; alpha g = g^3 / (2 g^2 + sum(A) g^3) = g / (2 + sum(A) g), and only g > 0 counts:
    # w1 = 2 / (2 + 4*2) + 3 / (2 + 4*3) = 29/70, w2 = 1 / (2 + 5*1) = 10/70: (29 A1 + 10 A2) / 70
    "gradcam++": Example([[49 / 70, 68 / 70], [-87 / 70, 136 / 70]]),
    # No noise: the example's picture, of mean 0.75, so that `Formula` gives gradients times 1.75: 3.5 0 / -1.75 5.25, -3.5 1.75 / 0 -1.75
    # w1 = 3.5 / (2 + 4*3.5) + 5.25 / (2 + 4*5.25) = 7/32 + 21/92, w2 = 1.75 / (2 + 5*1.75) = 7/43
    "smoothgradcam++": Example(
        [[7 / 32 + 21 / 92 + 14 / 43, 7 / 16 + 21 / 46 + 7 / 43], [-21 / 32 - 63 / 92, 7 / 8 + 21 / 23 + 14 / 43]],
        arguments={"samples": 2, "sigma": 0.0},
    ),
    # sum g1 A1 = 2 + 0 + 3 + 12 = 17, over 4 = 4.25; sum g2 A2 = -4 + 1 + 0 - 2 = -5, over 5 = -1: 4.25 A1 - A2
    "xgradcam": Example([[2.25, 7.5], [-12.75, 15.0]]),
    # H A is 1 0 / 0 -1 with mean 0, and 0 2 / 0 0 with mean 0.5: weights 1 - 0 and -0.5 - 0.25: A1 - 0.75 A2
    "shapleycam": Example([[-0.5, 1.25], [-3.0, 2.5]]),
    # relu(g1) A1 = 2 0 / 0 12, relu(g2) A2 = 0 1 / 0 0
    "layercam": Example([[2.0, 1.0], [0.0, 12.0]]),
    # g1 A1 = 2 0 / 3 12, g2 A2 = -4 1 / 0 -2
    "hirescam": Example([[-2.0, 1.0], [3.0, 10.0]]),
    # the same sum, of tokens
    "cdam": Example([[-2.0, 1.0], [3.0, 10.0]]),
    # the same two products, each without its negatives
    "gradcamelementwise": Example([[2.0, 1.0], [3.0, 12.0]]),
    # the sum over channels is 3 p: the projection that grows with p
    "eigencam": Example([[-2 * ROOT5, -ROOT5], [0.0, 3 * ROOT5]], activations=COLLINEAR),
    # Less their means the channels are r r / -r -r with r = sqrt 2, and 0: <a, b> / 2 + 1 is 2 on one side and 0 across, so the kernel
    # is T = tanh 2 or 0, centred T/2 or -T/2: eigenvector (1 1 / -1 -1) / 2, eigenvalue 2 T, and sqrt(2 T) / 2 = sqrt(tanh(2) / 2)
    "kpcacam": Example(
        [[0.6942721, 0.6942721], [-0.6942721, -0.6942721]],
        activations=[[[1 + ROOT2, 1 + ROOT2], [1 - ROOT2, 1 - ROOT2]], [[5.0, 5.0], [5.0, 5.0]]],
    ),
    # g A = p, -2 p sums to -p: the projection that falls with p
    "eigengradcam": Example([[2 * ROOT5, ROOT5], [0.0, -3 * ROOT5]], activations=COLLINEAR, gradients=OPPOSED),
    # |g| A = -p, -2 p; the projection that grows with their sum has min -3, max 2 (times sqrt 5): |min| > |max|, flipped
    "segeigencam": Example([[-2 * ROOT5, -ROOT5], [0.0, 3 * ROOT5]], activations=NEGATED, gradients=OPPOSED),
    # k = 1. A1: mean 1, variance (0 + 1 + 16 + 9) / 4 = 6.5: only 4 > 1 + 2.55, so 1/4.
    # A2: mean 1.25, variance (9 + 1 + 25 + 9) / 64 = 0.6875: nothing exceeds 2.08, so 0.
    "fem": Example([[0.25, 0.5], [-0.75, 1.0]], arguments={"k": 1.0}),
    # `ByHand` scores 2 sum(A1) - sum(A2) = 8 - 5 = 3; without A1 -5, without A2 8: falls of 8 and -5: 8 A1 - 5 A2
    "ablationcam": Example([[-2.0, 11.0], [-24.0, 22.0]]),
    # the score is linear: 2 sum(A1) = 8 comes from A1, -sum(A2) = -5 from A2, as without it
    "liftcam": Example([[-2.0, 11.0], [-24.0, 22.0]]),
    # one position alone scores 2 A1 - A2 there, none scores 0
    "reciprocam": Example([[0.0, 3.0], [-6.0, 6.0]]),
    # A1 scaled is (4, 5, 0, 7) / 7, A2 (1, 0.5, 0, 1); the picture 1 0 / 0 2 times these, at weights 1 2 / 3 4: 4/7 + 8 and 1 + 8.
    # softmax of a difference of 3/7: e^(-3/7) = 0.6514391, weights 0.3944674 and 0.6055326: 0.3944674 A1 + 0.6055326 A2
    "scorecam": Example([[1.6055326, 1.3944674], [-1.1834022, 2.7889348]]),
    # A quarter of the length from the middle on both axes, with sigma a quarter: exp(-1/2) twice
    "centercam": Example([[0.36787944, 0.36787944], [0.36787944, 0.36787944]]),
    # Of 1 0 / 0 2: behind less before, halved, down each column is -1/2 1 in both rows; smoothed along the rows, with the border
    # repeated, (3 * -1/2 + 1) / 4 = -1/8 and (-1/2 + 3) / 4 = 5/8. The picture is symmetric: the other axis is the transpose.
    "edgecam": Example([[2**0.5 / 8, 26**0.5 / 8], [26**0.5 / 8, 50**0.5 / 8]]),
    # Around gradcam, of whatever score: here the example's
    "finer": Example([[0.0, 1.5], [-3.0, 3.0]]),
    # Around gradcam, no noise: `Formula` adds the picture's mean 0.75 to A and gives 1.75 g: 1.75 (A1 + 0.75) - 0.875 (A2 + 0.75)
    "smooth": Example([[0.65625, 3.28125], [-4.59375, 5.90625]], arguments={"samples": 2, "sigma": 0.0}),
    # Around gradcam: at 1/4 and 3/4 of the picture the mean is 0.1875 and 0.5625: 1.375 g on average, with A as it is
    "integrated": Example([[0.0, 2.0625], [-4.125, 4.125]], arguments={"steps": 2}),
    # Around gradcam, without the Gaussian: the picture 1 0 / 0 2, and its four quarters twice as large, each quarter a window. The
    # pixels twice as large are w v' + 2 (1 - w)(1 - v)' with w = v = 1 3/4 1/4 0; means m of the windows are 0.75, and 0.796875
    # 0.328125 / 0.328125 1.546875; scores (pixels times 1 2 / 3 4) 9, and 7.5 3.9375 / 3.375 16.6875, the highest.
    # gradcam is proportional to 0 1.5 / -3 3 plus m / 2, so a map is m/2 1.5+m/2 / 0 3+m/2 over 3 + m/2. Put back, a quarter
    # is one pixel, its map's mean: 0.4189655 0.3944444 / 0.3944444 0.4518634. Times scores over 16.6875, with the whole picture's
    # 1/9 5/9 / 0 1 times 9/16.6875, and the mean of what is above 0:
    "sess": Example([[0.1241121, 0.1963483], [0.0797753, 0.4955946]], arguments={"scales": 2, "growth": 1.0, "sigma": 0.0}),
    # k = 1: the variance of A1 is 6.5, that of A2 0.6875 (see fem), so A1 alone has weight
    "fastercam": Example([[1.0, 2.0], [-3.0, 4.0]], arguments={"k": 1}),
    # 2 steps: half and whole mask, in the mean 3/4 of scorecam's scores (the score is a sum): their difference is 9/28,
    # e^(-9/28) = 0.7251114, weights 0.4203274 and 0.5796726
    "iscam": Example([[1.5796726, 1.4203274], [-1.2609822, 2.8406548]], arguments={"steps": 2}),
    # Of the picture's 9 (see scorecam) A1 shows 60/7 and its inverse 3/7, A2 shows all and its inverse nothing; the score itself is
    # that of the activations, 2 * 4 - 5 = 3: weights 60/7 + 3 - 3/7 = 78/7 and 9 + 3 - 0 = 12
    "polycam": Example([[246 / 7, 240 / 7], [-234 / 7, 480 / 7]]),
    # Seed 4 draws -1.6052763 for the first position and 0.8472938 for the last; half of that is added, the other two pixels are black.
    # A1 scaled: 4/7 - 0.8026381 is below 0 and 1 + 0.4236 above 1, so 0 + 8; A2: 1 - 0.8026381 = 0.1973619, so 0.1973619 + 8.
    # e^(-0.1973619) = 0.8208936, weights 0.4508191 and 0.5491809
    "sscam": Example([[1.5491809, 1.4508191], [-1.3524572, 2.9016381]], arguments={"samples": 1, "sigma": 0.5, "seed": 4}),
    # The channels times mean gradients 1 and -0.5 are A1 and -A2 / 2, the positive part of which is 0 2 / 0 4 (cut at the median of
    # 0 1 2 4, which is 1.5), and 0. Scaled: 0 0.5 / 0 1. The picture 1 0 / 0 2 under three equal weights, mirrored (a becomes
    # (a + 2 b) / 3): rows 1/3 2/3 / 4/3 2/3, then columns 1 2/3 / 2/3 2/3, whose score is 1 + 4/3 + 2 + 8/3 = 7. With the mask, 1 1/3 /
    # 2/3 2 scores 1 + 2/3 + 2 + 8 = 35/3: a rise of 14/3
    "groupcam": Example([[0.0, 7 / 3], [0.0, 14 / 3]], arguments={"groups": 2, "quantile": 0.5, "sigma": 1e9}),
    # One step, from weights 1/2: (A1 + A2) / 2 = 1.5 1.5 / -1.5 3, scaled 2/3 2/3 / 0 1. Of the picture's pixels only the first and the
    # last are not black, and the last keeps its 1. By the weight of A1 the first changes by (1 + 3) / 4.5 - 2/3 * 7 / 4.5 = -4/27, by
    # that of A2 by 2 / 4.5 - 2/3 * 2 / 4.5 = 4/27: so Adam goes -0.1 and 0.1, weights 1 / (1 + e^0.2) = 0.4501660 and 0.5498340
    "opticam": Example([[1.5498340, 1.4501660], [-1.3504980, 2.9003320]], arguments={"steps": 1}),
    # Seed 3 draws 0.034108195651 and 0.286740226721 from U(0, 1); twice that less 1: -0.9317836087 A1 - 0.4265195466 A2
    "randomcam": Example([[-1.7848227, -2.2900868], [2.7953508, -4.5801735]], arguments={"seed": 3}),
}
