"""Multinomial logistic regression on standardised features, in torch: the same code on CPU and GPU."""
import torch
import torch.nn.functional as F

__all__ = ['channel_statistics', 'fit_logistic']


def channel_statistics(features: torch.Tensor, floor: float = 1e-6) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel.

    Args:
        features: (N, D) float32.
        floor: Least standard deviation, so that a constant channel becomes 0 and not NaN.

    Returns:
        Two (D,) tensors.
    """
    return features.mean(0), features.std(0, unbiased=False).clamp_min(floor)


def fit_logistic(features: torch.Tensor,
                 labels: torch.Tensor,
                 num_classes: int,
                 l2: float = 1e-3,
                 max_iter: int = 100,
                 balanced: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise mean cross-entropy + l2 / 2 * |W|^2 by L-BFGS from zero.

    The problem is convex, so nothing depends on a seed or a learning rate. It is scikit-learn's
    ``LogisticRegression(C=1 / (l2 * N))``. The bias is not penalised.

    Args:
        features: (N, D) float32, standardised.
        labels: (N,) int64 in [0, K).
        num_classes: K.
        l2: Weight of the penalty, above 0.
        max_iter: Most L-BFGS iterations; 30 to 80 are usual.
        balanced: Weigh the samples so that all K classes, each of them there, count equally: scikit-learn's
            ``class_weight='balanced'``.

    Returns:
        Weight (K, D) and bias (K,).
    """
    basis = _preconditioner(features, l2)
    weights = 1 / labels.bincount(minlength=num_classes).float() if balanced else None
    free = features.new_zeros(num_classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([free, bias], max_iter=max_iter, tolerance_grad=1e-5, tolerance_change=1e-7,
                                  history_size=20, line_search_fn='strong_wolfe')

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        weight = free @ basis
        loss = F.cross_entropy(F.linear(features, weight, bias), labels, weights) + 0.5 * l2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return (free @ basis).detach(), bias.detach()


def _preconditioner(features: torch.Tensor, l2: float) -> torch.Tensor:
    """(D, D) basis in which the problem is nearly round, so that L-BFGS needs a quarter of the steps.

    0.5 * covariance + l2 bounds the Hessian of the softmax loss (Boehning, 1992). Only the coordinates
    change: the minimum is the same.
    """
    bound = 0.5 * features.T @ features / len(features)
    bound.diagonal().add_(l2)
    factor = torch.linalg.cholesky(bound.double())  # neighbouring channels can be almost collinear
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False).to(features.dtype)
