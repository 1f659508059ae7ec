// Package shards is the contract between the two stages: the target store, a folder of Arrow files that hold the teacher's
// per-patch features, written once and read run after run.
//
//	STORE/
//	  store.json               what made it: the producer, grid, width, classes
//	  shards/DIGEST.arrow      Arrow IPC files with zstd buffers, named by the SHA-256 of their bytes
//	  index/DIGEST.arrow       one small sidecar per shard: row identities, file sizes and times, batch places and digests
//	  rejects/DIGEST.jsonl     images that could not be used, with the reason
//	  leases/PART.N.json       which worker is at which part, with a heartbeat; or who was at it last
//
// One row is one view of one image; its identity is (key, image_sha256, view). A record batch holds rows of one view in the
// order in which the Writer got them. The extractor visits images in keyed-hash order, so neighbours are unrelated and a
// batch is not one class.
//
// Files appear whole, by rename, the sidecar last: a killed job loses the shard in flight and leaves a store that verifies.
// Any number of workers write to one store with nothing shared but the folder. Where two of them stored the same identity,
// the row of the shard whose name sorts first counts, and in one shard the first row; all others are dropped wherever rows
// are counted or read.
//
// A batch is read by its place in the sidecar and checked against the sidecar's digest (XXH3, 128 bits) before it is decoded;
// sizes are checked before anything is allocated. Verify checks the SHA-256 of whole files.
package shards
