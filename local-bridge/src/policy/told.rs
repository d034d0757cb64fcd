//! What the Worker is told of the policy beside the rules' beginnings, so that a person is asked once, and where the yes counts. It grants
//! nothing: each call is judged here whatever was told.

use super::{AskedBy, Command, Policy, Then, Verdict, options};
use protocol::tools::{Grade, bridge_tools};

impl Policy {
    /// The beginnings after which any words are allowed, or denied: none makes a question of them.
    pub fn free_commands(&self) -> Vec<Vec<String>> {
        let free = self.commands.iter().filter(|rule| self.is_free(rule));
        free.map(|rule| rule.argv.clone()).collect()
    }

    fn is_free(&self, rule: &Command) -> bool {
        let asks = |other: &Command| {
            other.then == Then::Ask
                && (other.argv.first() == rule.argv.first() || other.program == rule.program)
        };
        rule.then == Then::Allow
            && !rule.exact
            && options::is_known(rule)
            && matches!(self.judge(&rule.argv).verdict, Verdict::Allow { .. })
            && !self.commands.iter().any(asks)
    }

    /// The beginnings about which the owner is asked at home, whatever words follow: the rule that asks wins over any that allows, and a
    /// further word makes none of its grade milder.
    pub fn home_commands(&self) -> Vec<Vec<String>> {
        let rules = self.commands.iter().filter(|rule| {
            let verdict = self.judge(&rule.argv).verdict;
            rule.then == Then::Ask
                && rule.grade == Grade::Dangerous
                && verdict.consent(AskedBy::Home).is_ok()
        });
        rules.map(|rule| rule.argv.clone()).collect()
    }

    /// The tools about which the owner is asked at home, whatever their arguments.
    pub fn home_tools(&self) -> Vec<String> {
        let tools = bridge_tools().into_iter().filter(|spec| {
            let verdict = self.tool(&spec.name.0);
            let asks = matches!(verdict, Verdict::Ask { .. });
            asks && verdict.consent(AskedBy::for_tool(spec.grade)).is_err()
                && verdict.consent(AskedBy::Home).is_ok()
        });
        tools.map(|spec| spec.name.0).collect()
    }
}
