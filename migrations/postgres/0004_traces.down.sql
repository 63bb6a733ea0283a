alter table sweeps drop column trace;
