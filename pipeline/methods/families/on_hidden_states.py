"""Methods with a term on hidden states, beside the loss on distributions."""

from functools import partial

from pipeline.methods.method import Method

beside_forward_kl = partial(Method, loss="forward_kl", teacher="live")

METHODS = {
    "hidden_mse": beside_forward_kl(
        title="Forward KL and the squared error of the last hidden state",
        features="hidden_mse",
        source="arcee-ai/DistillKit, after Jiao et al. 2020, arXiv:1909.10351",
        evidence="code",
        departures="The last hidden state alone, behind the final norm, where the source has a map "
        "of layers, attention and embeddings. Projectors have no bias, as DistillKit's.",
    ),
    "hidden_cosine": beside_forward_kl(
        title="Forward KL and the cosine of the last hidden state",
        features="hidden_cosine",
        source="NVIDIA ModelOpt and arcee-ai/DistillKit",
        evidence="code",
        departures="The last hidden state alone; forward KL with weight 1 is ours, where ModelOpt "
        "balances the terms by their size.",
    ),
    "hidden_l2": beside_forward_kl(
        title="Forward KL and the normalised distance of the last hidden state",
        features="hidden_l2",
        source="Minixhofer et al. 2025, arXiv:2503.20083",
        evidence="code",
        departures="Lengths are of a token, where theirs are of a whole tensor; beside forward KL "
        "at each token, where theirs is beside likelihoods of spans.",
    ),
    "hidden_cka": beside_forward_kl(
        title="Forward KL and CKA of the last hidden states of a text",
        features="hidden_cka",
        source="Kornblith et al. 2019, arXiv:1905.00414",
        evidence="own",
        departures="The source compares networks by it; as a loss, over a text, beside forward KL "
        "and with weight 1, it is ours.",
    ),
    "hidden_relations": beside_forward_kl(
        title="Forward KL and MiniLMv2's relations between tokens, of the last hidden states",
        features="hidden_relations",
        source="Wang et al. 2021, arXiv:2012.15828",
        evidence="abstract",
        departures="Relations are of hidden states, where theirs are of queries, of keys and of "
        "values; between response tokens alone, of the last layer by default. Beside forward KL "
        "with weight 1, where theirs stand alone; sixteen relation heads are ours.",
    ),
    "dskd": Method(
        title="DSKD: hidden states learnt into the other model's space",
        loss="cross_entropy",
        features="dskd",
        teacher="live",
        source="Zhang et al. 2024, arXiv:2406.17328",
        evidence="code",
        departures="Temperature 1, where theirs is 2; projectors without bias. Between "
        "vocabularies its term stands at spans of one token on each side, without their "
        "cross-model attention.",
    ),
    "dskd_v2": Method(
        title="DSKDv2: hidden states read by the other model's head",
        loss="cross_entropy",
        features="dskd_v2",
        teacher="live",
        source="Zhang et al. 2025, arXiv:2504.11426",
        evidence="code",
        departures="The projector to the teacher's width is learnt, where theirs is computed from "
        "the heads in each step; temperature 1; sums over tokens by the count of all tokens.",
    ),
}
