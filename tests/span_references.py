"""References of losses over spans, whose teacher may have another vocabulary than the student."""

import math

import numpy as np
from references import Hyperparameters, Row, Rows

from distilbench_conformance.references import kl
from pipeline.distributions.log_probs import TokenContext


def spans_of(tokens: TokenContext) -> list[tuple[list[int], list[int], bool]]:
    """The teacher's and the student's tokens of each span, and whether it ends its text."""
    count, spans = len(tokens.sequence), tokens.spans
    teacher, student = (
        (list(range(count)), list(range(count)))
        if spans is None
        else (spans.of_teacher.tolist(), spans.of_student.tolist())
    )
    text = tokens.sequence.tolist()
    result = []
    for span in range(max(student) + 1):
        mine = [token for token, of in enumerate(student) if of == span]
        ends = mine[-1] + 1 == count or text[mine[-1]] != text[mine[-1] + 1]
        result.append(([token for token, of in enumerate(teacher) if of == span], mine, ends))
    return result


def teacher_targets(tokens: TokenContext) -> list[int]:
    """The next tokens in the teacher's vocabulary."""
    return (tokens.target if tokens.spans is None else tokens.spans.teacher_target).tolist()


def sorted_apart(p: Row, q: Row) -> float:
    width = max(len(p), len(q))
    a, b = (np.sort(np.append(row, np.zeros(width - len(row))))[::-1] for row in (p, q))
    return float(np.abs(a - b).sum())


def uld(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, spans = np.zeros(len(q)), spans_of(tokens)
    if h.aligned:
        for teacher, student, _ in spans:
            result[student[-1]] = sorted_apart(p[teacher[0]], q[student[0]])
        return result
    of_teacher: list[int] = []
    of_student: list[int] = []
    for teacher, student, ends in spans:
        of_teacher, of_student = of_teacher + teacher, of_student + student
        if ends:
            for mine, yours in zip(of_teacher, of_student, strict=False):  # as far as both go
                result[yours] = sorted_apart(p[mine], q[yours])
            of_teacher, of_student = [], []
    return result


def opd_spans(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, targets = np.zeros(len(q)), teacher_targets(tokens)
    for teacher, student, _ in spans_of(tokens):
        a = sum(math.log(p[token][targets[token]]) for token in teacher)
        own = {token: math.log(q[token][tokens.target[token]]) for token in student}
        for token in student:
            by_token = a / len(student) - own[token]
            advantage = a - sum(own.values()) if h.whole_span else by_token
            ratio = math.exp(own[token] - tokens.sampled_log_probs[token])
            result[token] = -ratio * advantage
    return result


def alm(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, spans, targets = np.zeros(len(q)), spans_of(tokens), teacher_targets(tokens)
    vocabularies = None if tokens.spans is None else tokens.spans.vocabularies
    a = b = 0.0
    for place, (teacher, student, ends) in enumerate(spans):
        a += sum(math.log(p[token][targets[token]]) for token in teacher)
        b += sum(math.log(q[token][tokens.target[token]]) for token in student)
        if vocabularies is not None and not ends:
            after_teacher, after_student, _ = spans[place + 1]
            begins = vocabularies.teacher_begins_word.numpy()
            mass = p[after_teacher[0]][: len(begins)][begins].sum()
            if mass < h.least_boundary_mass:
                continue
            a += math.log(mass)
            begins = vocabularies.student_begins_word.numpy()
            b += math.log(q[after_student[0]][begins].sum())
        x, y = (math.exp(value / h.temperature - 1e-6) for value in (a, b))
        binary = x * math.log(x / y) + (1 - x) * math.log((1 - x) / (1 - y))
        result[student[-1]] = h.temperature * binary
        a = b = 0.0
    return result


def same_tokens(tokens: TokenContext, count: int) -> dict[int, int]:
    """The student's token of the same bytes by the teacher's, where there is one."""
    both = tokens.spans
    if both is None or both.vocabularies is None:
        return {token: token for token in range(count)}
    pairs = enumerate(both.vocabularies.shared.tolist())
    return {mine: yours for mine, yours in pairs if yours >= 0}


def gold(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, both, targets = np.zeros(len(q)), tokens.spans, teacher_targets(tokens)
    same = same_tokens(tokens, p.shape[1])
    size = (
        p.shape[1] if both is None or both.vocabularies is None else len(both.vocabularies.shared)
    )
    for teacher, student, _ in spans_of(tokens):
        a, b = p[teacher[-1]].copy(), q[student[-1]].copy()
        for token in teacher[:-1]:
            a *= p[token][targets[token]]
        for token in student[:-1]:
            b *= q[token][tokens.target[token]]
        matched = 0.0
        for mine, yours in same.items():
            x, y = a[mine], b[yours]
            m = h.teacher_weight * x + (1 - h.teacher_weight) * y
            matched += h.teacher_weight * x * math.log(x / m)
            matched += (1 - h.teacher_weight) * y * math.log(y / m)
        rest_a = np.array([a[token] for token in range(size) if token not in same])
        rest_b = np.array([b[token] for token in range(len(b)) if token not in same.values()])
        share = len(same) / size
        result[student[-1]] = share * matched + (1 - share) * sorted_apart(rest_a, rest_b)
    return result


def simct(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, targets, moved = np.zeros(len(q)), teacher_targets(tokens), 1e-4
    same = same_tokens(tokens, p.shape[1])
    for teacher, student, _ in spans_of(tokens):
        a = [math.prod(p[token][targets[token]] for token in teacher)]
        b = [math.prod(q[token][tokens.target[token]] for token in student)]
        for mine, yours in same.items():
            if mine != targets[teacher[0]] and yours != tokens.target[student[0]]:
                a.append(p[teacher[0]][mine])
                b.append(q[student[0]][yours])
        x, y = (
            [(1 - moved) * value for value in each] + [(1 - moved) * (1 - sum(each)) + moved]
            for each in (a, b)
        )
        result[student[-1]] = kl(np.array(y), np.array(x))
    return result
