//! Publishing and subscribing.

use std::time::Duration;

use forebay::kv::{Kv, Subscription, SubscriptionEvent};
use tokio::time::timeout;

use super::test_store;
use super::test_store::{LONG, answered, patient, until};
use support::proxy::{LinkState, Proxy};
use support::services;

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    timeout(LONG, subscription.next()).await.expect("an event")
}

/// Time after which a message is published again.
const SOON: Duration = Duration::from_millis(50);

/// Publishes until the subscriber receives it, which may still be connecting. Returns the earlier events.
async fn publish_until_received(
    kv: &Kv,
    subscription: &mut Subscription,
    text: &str,
) -> Vec<SubscriptionEvent> {
    let mut before = Vec::new();
    loop {
        answered("the message is taken", async || kv.publish("c", text).await).await;
        if let Ok(event) = timeout(SOON, subscription.next()).await {
            if event == SubscriptionEvent::Message(text.to_owned()) {
                return before;
            }
            before.push(event);
        }
    }
}

fn message(text: &str) -> SubscriptionEvent {
    SubscriptionEvent::Message(text.to_owned())
}

#[tokio::test]
async fn a_message_reaches_every_subscriber_of_its_channel_in_order() {
    for store in test_store::all_stores("a_message_reaches_every_subscriber_of_its_channel_in_order") {
        let (mut first, mut second) = (store.kv.subscribe("c"), store.kv.subscribe("c"));
        for subscription in [&mut first, &mut second] {
            publish_until_received(&store.kv, subscription, "begin").await;
        }
        store.kv.publish("another", "for another channel").await.unwrap();
        for number in 0..100 {
            store.kv.publish("c", &number.to_string()).await.unwrap();
        }
        for subscription in [&mut first, &mut second] {
            let mut event = next(subscription).await;
            while event == message("begin") {
                event = next(subscription).await;
            }
            for number in 0..100 {
                assert_eq!(event, message(&number.to_string()));
                event = if number < 99 { next(subscription).await } else { event };
            }
        }
    }
}

#[tokio::test]
async fn two_clients_receive_each_others_messages() {
    let test = "two_clients_receive_each_others_messages";
    let Some(starter) = services::redis(test) else { return };
    let server = starter.start();
    let cluster = starter.start_cluster();
    let clients = [
        (patient(&server.url(), false), patient(&server.url(), false)),
        (patient(&cluster.node(0).url(), true), patient(&cluster.node(2).url(), true)),
    ];
    for (one, two) in &clients {
        for (from, to) in [(one, two), (two, one)] {
            let mut subscription = to.subscribe("c");
            let before = publish_until_received(from, &mut subscription, "hello").await;
            assert_eq!(before, [SubscriptionEvent::MessagesMissed], "one connect, and no message before it");
        }
    }
}

#[tokio::test]
async fn a_server_restart_reports_missed_messages() {
    let Some(starter) = services::redis("a_server_restart_reports_missed_messages") else { return };
    let server = starter.start();
    let kv = patient(&server.url(), false);
    let mut subscription = kv.subscribe("c");
    publish_until_received(&kv, &mut subscription, "before").await;
    server.kill();
    server.restart();
    let missed = publish_until_received(&kv, &mut subscription, "after").await;
    let lapses = missed.iter().filter(|event| **event == SubscriptionEvent::MessagesMissed).count();
    assert_eq!(lapses, 1, "{missed:?}");
}

#[tokio::test]
async fn a_subscriber_detects_a_cut_connection() {
    let Some(starter) = services::redis("a_subscriber_detects_a_cut_connection") else { return };
    let server = starter.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let kv = patient(&format!("redis://{}", proxy.address()), false);
    let mut subscription = kv.subscribe("c");
    assert_eq!(next(&mut subscription).await, SubscriptionEvent::MessagesMissed);
    // Data no longer arrives, and no error is reported. The server's replies to a ping do not arrive either.
    proxy.set(LinkState::NO_RESPONSES);
    let given_up = until("the dead connection is closed", async || {
        server.command(&["PUBSUB", "NUMSUB", "c"]).unwrap().ends_with(":0\r\n")
    });
    tokio::select! {
        event = subscription.next() => panic!("{event:?} over a cut connection"),
        () = given_up => {}
    }
    proxy.heal();
    assert_eq!(next(&mut subscription).await, SubscriptionEvent::MessagesMissed, "connected again");
    publish_until_received(&kv, &mut subscription, "after").await;
}

#[tokio::test]
async fn a_slow_subscriber_is_notified_and_receives_later_messages() {
    for store in test_store::all_stores("a_slow_subscriber_is_notified_and_receives_later_messages") {
        let mut subscription = store.kv.subscribe("c");
        publish_until_received(&store.kv, &mut subscription, "begin").await;
        for number in 0..3_000 {
            store.kv.publish("c", &number.to_string()).await.unwrap();
        }
        let mut lapsed = false;
        while !lapsed {
            lapsed = next(&mut subscription).await == SubscriptionEvent::MessagesMissed;
        }
        publish_until_received(&store.kv, &mut subscription, "end").await;
    }
}
