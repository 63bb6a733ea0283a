alter table tokens drop column expires_at;
