"""REINFORCE (Williams, 1992): an agent that plays in a small world, on iterable data without a length."""

import lightning as L
import torch
from torch import nn
from torch.distributions import Categorical
from torch.utils.data import DataLoader, IterableDataset


class Corridor:
    """Cells in a row, of which the last is the goal; a step costs 0.1, the goal gives 1."""

    size, limit = 6, 20

    def reset(self, start):
        self.position, self.time = start, 0
        return self.observation()

    def observation(self):
        return nn.functional.one_hot(torch.tensor(self.position), self.size).float()

    def step(self, action):
        self.position = min(max(self.position + (1 if action else -1), 0), self.size - 1)
        self.time += 1
        reached = self.position == self.size - 1
        return self.observation(), 1.0 if reached else -0.1, reached or self.time == self.limit


class Starts(IterableDataset):
    """Where the episodes begin."""

    def __init__(self, episodes):
        self.episodes = episodes

    def __iter__(self):
        for _ in range(self.episodes):
            yield torch.randint(0, Corridor.size - 1, ()).item()


class Reinforce(L.LightningModule):
    def __init__(self, hidden: int = 16, lr: float = 1e-2, gamma: float = 0.95, episodes: int = 48):
        super().__init__()
        self.save_hyperparameters()
        self.env = Corridor()
        self.policy = nn.Sequential(nn.Linear(Corridor.size, hidden), nn.Tanh(), nn.Linear(hidden, 2))

    def forward(self, observation):
        return Categorical(logits=self.policy(observation))

    def play(self, start):
        observation, log_probs, rewards, done = self.env.reset(int(start)), [], [], False
        while not done:
            distribution = self(observation.to(self.device))
            action = distribution.sample()
            observation, reward, done = self.env.step(action.item())
            log_probs.append(distribution.log_prob(action))
            rewards.append(reward)
        return torch.stack(log_probs), rewards

    def returns(self, rewards):
        total, found = 0.0, []
        for reward in reversed(rewards):
            total = reward + self.hparams.gamma * total
            found.insert(0, total)
        return torch.tensor(found, device=self.device)

    def training_step(self, batch, batch_idx):
        losses, totals = [], []
        for start in batch:
            log_probs, rewards = self.play(start)
            losses.append(-(log_probs * self.returns(rewards)).sum())
            totals.append(sum(rewards))
        self.log("episode_reward", sum(totals) / len(totals), prog_bar=True, on_step=True, on_epoch=True)
        return torch.stack(losses).mean()

    def test_step(self, batch, batch_idx):
        rewards = [sum(self.play(start)[1]) for start in batch]
        self.log("test_reward", sum(rewards) / len(rewards), batch_size=len(rewards))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)

    def train_dataloader(self):
        return DataLoader(Starts(self.hparams.episodes), batch_size=4)

    def test_dataloader(self):
        return DataLoader(Starts(16), batch_size=4)


class Experiences(IterableDataset):
    """Episodes of the agent as it is now."""

    def __init__(self, agent):
        self.agent = agent

    def __iter__(self):
        for start in Starts(self.agent.hparams.episodes):
            observation, done, observations, actions, rewards = self.agent.env.reset(start), False, [], [], []
            while not done:
                with torch.no_grad():
                    action = self.agent(observation).sample().item()
                observations.append(observation)
                actions.append(action)
                observation, reward, done = self.agent.env.step(action)
                rewards.append(reward)
            yield torch.stack(observations), torch.tensor(actions), self.agent.returns(rewards)


class OnlineReinforce(Reinforce):
    """The data set plays with the weights of now: what it yields can't be read again."""

    def training_step(self, batch, batch_idx):
        observations, actions, returns = batch
        self.log("episode_steps", float(len(actions)), on_epoch=True)
        return -(self(observations).log_prob(actions) * returns).sum()

    def train_dataloader(self):
        return DataLoader(Experiences(self), batch_size=None)
