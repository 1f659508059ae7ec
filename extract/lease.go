package extract

import (
	"context"
	"errors"
)

// ErrLeaseLost ends a job whose part another worker took over, because this one showed no life for too long.
var ErrLeaseLost = errors.New("another worker took this part over")

// hold takes the lease of the part, so that no two workers do the same.
func (r *run) hold(ctx context.Context) (err error) {
	r.lease, err = r.store.Lease(ctx, r.Part.String())
	return err
}

// watchLease ends the job with ErrLeaseLost if the lease is lost before ctx ends. A plan has none.
func (r *run) watchLease(ctx context.Context, end func(error)) {
	if r.lease == nil {
		return
	}
	select {
	case <-r.lease.Lost():
		end(ErrLeaseLost)
	case <-ctx.Done():
	}
}

// releaseLease gives the part back. If that cannot be written, the lease goes stale by itself.
func (r *run) releaseLease() {
	if r.lease == nil {
		return
	}
	if err := r.lease.Release(); err != nil {
		r.Log.Warn("the lease could not be released", "error", err)
	}
}
