// Package probe measures frozen features with a linear classifier, layer by layer.
//
// The features of a layer are [CLS, mean of the patch tokens], as BEiT's linear evaluation concatenates them (unilm,
// beit/run_linear_eval.py). What differs from it: the classifier is a logistic regression trained to its optimum instead of 100
// epochs of AdamW on augmented images, and layer and regularization are chosen on a held-out part of the training images, not by
// the best test accuracy. The test images are looked at once, in the end.
package probe
