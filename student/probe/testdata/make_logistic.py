"""Writes logistic.safetensors: scikit-learn's logistic regression on its own digits, for probe's TestAgainstScikitLearn.

usage: make_logistic.py OUT.safetensors        (scikit-learn 1.7.2, numpy 2.4.6, safetensors 0.8.0)

1,797 digits of 8 x 8 pixels, the first 1,200 for training. Features are standardized by the training rows, with
StandardScaler, as the probe does. The optimum is unique; lbfgs is run far past its default tolerance.
"""
import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

TRAIN = 1200
STRENGTHS = [1e-4, 1e-2, 1., 1e3]


def main():
    x, y = load_digits(return_X_y=True)
    out = {"x": x.astype(np.uint8), "y": y.astype(np.int32), "c": np.array(STRENGTHS)}
    scaler = StandardScaler().fit(x[:TRAIN])
    a, b = scaler.transform(x[:TRAIN]), scaler.transform(x[TRAIN:])
    for i, c in enumerate(STRENGTHS):
        model = LogisticRegression(C=c, tol=1e-9, max_iter=100_000).fit(a, y[:TRAIN])
        out[f"weight.{i}"] = np.ascontiguousarray(model.coef_)  # both are views of one array in column order
        out[f"bias.{i}"] = np.ascontiguousarray(model.intercept_)
        out[f"predicted.{i}"] = model.predict(b).astype(np.int32)
        print(f"C {c:g}: {model.score(b, y[TRAIN:]):.4f} of {len(b)}, {model.n_iter_} iterations")
    save_file(out, sys.argv[1])


if __name__ == "__main__":
    main()
