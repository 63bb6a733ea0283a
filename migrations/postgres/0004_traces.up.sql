-- Where a sweep's trace begins (W3C traceparent); attempts at its jobs go on from there.
alter table sweeps add column trace text;
