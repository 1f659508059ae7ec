"""Prints the coefficients of blas/cpu/common.h's functions, lowest power first, and the fits' largest error: python fit.py (numpy)."""
import math

import numpy as np


def fit(x, f, z, p_degree, q_degree, weight, fixed=0, steps=400):
    """Minimax fit of f(x) by p(z)/q(z), q(0) = 1: least squares with Lawson's weights. The first coefficients of p may be fixed at 1."""
    lawson, q, best = np.ones_like(x), np.ones_like(x), (np.inf,)
    given = sum(z**k for k in range(fixed)) if fixed else 0 * z
    for _ in range(steps):
        w = np.sqrt(lawson) * weight / q
        columns = [z**k for k in range(fixed, p_degree + 1)] + [-f * z**k for k in range(1, q_degree + 1)]
        found = np.linalg.lstsq(np.stack(columns, 1) * w[:, None], (f - given) * w, rcond=None)[0]
        p, tail = np.split(found, [p_degree + 1 - fixed])
        p, tail = np.concatenate([np.ones(fixed), p]), np.concatenate([[1], tail])
        q = np.polyval(tail[::-1], z)
        error = np.abs(np.polyval(p[::-1], z) / q - f) * weight
        if error.max() < best[0]:
            best = error.max(), p, tail
        lawson *= error / error.mean()
        lawson /= lawson.mean()
    return best


def show(name, error, *polynomials):
    print(f"{name}: within {error:.2g}")
    for p in polynomials:
        print("  " + " ".join(f"{np.float32(c):.7e}" for c in p))


def odd(name, f, end, p_degree, q_degree):
    """f is 1/2 + x·p(x²)/q(x²) on |x| < end."""
    x = end * np.cos(np.pi * (np.arange(4000) + 0.5) / 8000)
    error, p, q = fit(x, f(x) / x, (x / end) ** 2, p_degree, q_degree, x)
    show(name, error, p / end ** (2 * np.arange(len(p))), q / end ** (2 * np.arange(len(q))))


half = 1.001 * math.log(2) / 2
x = half * np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
error, p, _ = fit(x, np.exp(x), x, 5, 0, np.exp(-x), fixed=2, steps=300)
show("exponential", error, p)
phi = np.vectorize(lambda x: math.erf(x / math.sqrt(2)) / 2)
odd("gelu", phi, 5.4, 5, 5)
odd("gelu_grad", lambda x: phi(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), 6.0, 7, 6)
