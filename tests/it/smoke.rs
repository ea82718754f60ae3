use crate::support::Scenario;

#[test]
fn a_command_gets_its_secrets() {
    let scenario = Scenario::new().secret("DB_PASSWORD", "hunter2");
    let outcome = scenario.launch().command(["sh", "-c", "printf %s \"$DB_PASSWORD\""]).run();
    outcome.succeeded();
    assert_eq!(outcome.text(), "hunter2");
}
