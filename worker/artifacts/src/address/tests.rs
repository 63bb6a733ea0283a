use super::*;

fn variables(list: &[(&str, &str)]) -> Vec<Variable> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn aws() -> Vec<Variable> {
    variables(&[
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "hush-hush"),
        ("AWS_SESSION_TOKEN", "session-hush"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ])
}

fn refusal(url: &str, variables: &[Variable]) -> String {
    let error = open(url, variables).err().map(|error| error.to_string()).unwrap();
    assert!(!error.contains('\n') && !format!("{error:?}").contains("hush"), "{error}");
    error
}

#[test]
fn every_malformed_address_has_one_clear_line() {
    let cases = [
        ("", "is empty"),
        ("file://relative/x", "must be file:///absolute/path"),
        ("file:///folder?x=1", "nothing may follow `?` or `#`"),
        ("s3://", "must be s3://bucket/prefix"),
        ("s3:///prefix", "must be s3://bucket/prefix"),
        ("s3://host:9000/bucket", "names a port"),
        ("gs://", "must be gs://bucket/prefix"),
        ("az://", "must be az://bucket/prefix"),
        ("abfss://container@account.example.org/x", "account.example.org"),
        ("s3://bucket/a//b", "Path"),
        ("s3://bu cket/x", "invalid"),
        ("ftp://host/x", "`ftp` is not spoken; stores are file://, s3://, gs://, az:// and abfss:// URLs"),
        ("https://bucket.s3.amazonaws.com/x", "`https` is not spoken"),
    ];
    for (url, part) in cases {
        let error = refusal(url, &aws());
        assert!(error.starts_with("artifact store `") && error.contains(part), "{url}: {error}");
    }
}

#[test]
fn an_address_with_credentials_is_refused_and_not_repeated() {
    for url in [
        "s3://AKIAHUSH:hush@bucket/prefix",
        "s3://hush@bucket/prefix",
        "gs://:hush@bucket/prefix",
        "abfss://container:hush@account.dfs.core.windows.net/prefix",
        "s3://bucket/prefix?X-Amz-Signature=hush",
        "az://container/prefix?sig=hush",
        "s3://bucket/prefix#hush",
        "ftp://user:hush@host/x",
        "s3://user:hush@bucket with space/prefix",
    ] {
        let error = refusal(url, &aws());
        assert!(!error.to_lowercase().contains("hush"), "{error}");
    }
    let error = refusal("s3://AKIAHUSH:hush@bucket/prefix", &[]);
    assert_eq!(
        error,
        "artifact store `s3://bucket/prefix`: credentials belong into the environment, not into the URL"
    );
}

#[test]
fn every_kind_opens_with_its_variables() {
    let azure = variables(&[
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "aHVzaC1odXNoCg=="),
    ]);
    let google = variables(&[("GOOGLE_SKIP_SIGNATURE", "true")]);
    for (url, variables) in [
        ("s3://bucket", &aws()),
        ("s3://my_bucket.with.dots/some/prefix/", &aws()),
        ("gs://bucket/prefix", &google),
        ("az://container/prefix", &azure),
        ("abfs://container/prefix", &azure),
        ("abfss://container@account.dfs.core.windows.net/prefix", &azure),
    ] {
        let Opened { speaker, .. } = open(url, variables).unwrap();
        assert_eq!(speaker.url(), url.trim_end_matches('/'));
    }
    assert!(refusal("az://container/prefix", &[]).contains("Account"), "the account is missing");
}

#[test]
fn a_setting_that_does_not_fit_is_named_without_its_neighbours() {
    let mut half = aws();
    half.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    assert!(refusal("s3://bucket/x", &half).contains("Secret"), "the secret is missing");
    let mut wrong = aws();
    wrong.push(("AWS_CONNECT_TIMEOUT".to_owned(), "soon".to_owned()));
    assert!(refusal("s3://bucket/x", &wrong).contains("soon"));
}
