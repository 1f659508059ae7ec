// Package shards is the contract between the two stages: the target store, a folder of Arrow files that hold the teacher's
// per-patch features, written once and read run after run.
//
//	STORE/
//	  store.json               what made it: the producer, views, grid, width
//	  shards/DIGEST.arrow      Arrow IPC files with zstd buffers, named by the SHA-256 of their bytes
//	  index/DIGEST.arrow       one small sidecar per shard: row identities, file size and time, batch offsets and digests
//	  rejects/DIGEST.jsonl     images that could not be used, with the reason
//
// One row is one view of one image; its identity is (key, image_sha256, view). A record batch holds rows of one view in
// keyed-hash order, so that its rows are unrelated. Files appear by rename, the sidecar last: a killed job loses the shard
// in flight and leaves a store that verifies. A duplicate identity counts once: that of the shard whose name sorts first.
package shards
