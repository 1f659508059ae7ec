// Package student is stage two: a BEiT-style ViT that learns to predict the stored CLIP features of masked patches (MVP, arXiv
// 2203.05175). The model is written once, on blas.Device; everything random is a function of seed, step and sample, so that
// a resumed run repeats the numbers of an uninterrupted one.
package student
